"""Tests a checkpoint: MMPose's own test tool, with this package's modules registered and readable errors."""

from mmpose_tskd.apis.tools import run_mmpose_tool

if __name__ == '__main__':
    run_mmpose_tool('test')
