"""Methods: how weights are carried over to other sizes, as maps for axes and for depth. One file for each."""
