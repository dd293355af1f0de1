from .fast_random_bbox_transform import FastRandomBBoxTransform
from .pack_input_frame import PackInputFrame, image_to_input, pack_input_frames

__all__ = ['FastRandomBBoxTransform', 'PackInputFrame', 'pack_input_frames', 'image_to_input']
