from .synthetic_crowd import generate_synthetic_crowd

__all__ = ['generate_synthetic_crowd']
