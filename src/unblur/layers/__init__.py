"""Network layers that several methods use. They are fast on a CPU in bfloat16 and channels-last."""
