from .pack_input_frame import PackInputFrame, pack_input_frames, picture_to_input

__all__ = ['PackInputFrame', 'pack_input_frames', 'picture_to_input']
