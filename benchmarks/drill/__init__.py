"""A workspace with all its processes, two hundred mishaps, and an account of every image afterwards."""
