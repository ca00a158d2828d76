"""Work on a Ray cluster (extra `ray`): the tasks of worker processes, and the same bytes."""
