"""Engines: each applies one kind of parallelism to the user's own module, and takes it off again."""
