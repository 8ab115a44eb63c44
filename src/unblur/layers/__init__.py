"""Network blocks that more than one network uses, written to be fast on a CPU in bfloat16 and channels-last."""
