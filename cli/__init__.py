"""The command line `vdmc`: one file a command; nothing here imports torch or numba before it computes."""
