"""Writing: the graph of the new size, proved against its plan, in a file that appears complete or not at all."""
