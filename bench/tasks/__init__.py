"""The ten tasks, as a user of each tool would write them."""
