"""What both sides of the kit share: files and shared memory, and nothing that acts."""
