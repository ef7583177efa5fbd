"""Engines: each applies one kind of parallelism to the user's module, and takes it off again."""
