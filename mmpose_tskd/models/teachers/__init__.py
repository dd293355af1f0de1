from .frozen_teacher import FrozenTeacher, load_model_config, num_keypoints
from .student_frame import StudentFrame

__all__ = ['FrozenTeacher', 'StudentFrame', 'load_model_config', 'num_keypoints']
