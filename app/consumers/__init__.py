"""The four steps from a confirmed payment to a course: what each does, and nothing else."""
