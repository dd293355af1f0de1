from .multi_branch_hrnet import MultiBranchHRNet

__all__ = ['MultiBranchHRNet']
