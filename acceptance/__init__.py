"""k8sha on real machines: the lab, and the promises that are tested on it."""
