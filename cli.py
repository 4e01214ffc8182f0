"""The command line from a clone: `python cli.py resize model.onnx --depth 6`."""

from front_onnx.commands import main

if __name__ == "__main__":
    main()
