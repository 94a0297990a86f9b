"""Tasks: how they are declared, named, looked up and asked for."""
