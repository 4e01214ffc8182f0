"""`python -m front_onnx`, for launchers that start modules (torchrun -m front_onnx refine ...)."""

from front_onnx.commands import main

if __name__ == "__main__":
    main()
