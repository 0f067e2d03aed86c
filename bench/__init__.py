"""k8sha, pyinfra and Ansible doing the same work on the same hosts, measured."""
