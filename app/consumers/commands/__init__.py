"""What an operator does with the consumers: one command, or one group of commands, a file."""
