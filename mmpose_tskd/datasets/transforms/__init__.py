from .pack_input_frame import PackInputFrame, picture_to_input

__all__ = ['PackInputFrame', 'picture_to_input']
