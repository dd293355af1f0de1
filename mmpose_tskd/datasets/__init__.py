from .labels import Labels, split_labels, write_labels
from .lspet import convert_lspet
from .occlusion import occlude
from .synthetic_crowd import generate_synthetic_crowd

__all__ = ['Labels', 'convert_lspet', 'generate_synthetic_crowd', 'occlude', 'split_labels', 'write_labels']
