from .frozen_teacher import FrozenTeacher, load_model_config
from .labelled_categories import LabelledCategories
from .student_frame import StudentFrame
from .teacher_check import TeacherCheck

__all__ = ['FrozenTeacher', 'LabelledCategories', 'StudentFrame', 'TeacherCheck', 'load_model_config']
