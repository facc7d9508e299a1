"""Commands with whatever arguments, on workspaces and folders as they should not be; see the module `__main__`."""
