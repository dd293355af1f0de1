from .generate import crowd_index, generate_synthetic_crowd
from .scene import JOINTS, Person, draw_scene

__all__ = ['JOINTS', 'Person', 'crowd_index', 'draw_scene', 'generate_synthetic_crowd']
