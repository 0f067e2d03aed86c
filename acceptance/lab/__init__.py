"""The machine that runs the lab: what makes it able to (shell), and commands on it."""
