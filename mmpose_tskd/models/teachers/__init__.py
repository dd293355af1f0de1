from .build import build_teacher
from .callable_teacher import CallableTeacher
from .foreign_teacher import ForeignTeacher
from .frozen_teacher import FrozenTeacher, load_model_config
from .hf_teacher import HFTeacher
from .labeled_categories import LabeledCategories
from .live_teacher import LiveTeacher
from .onnx_teacher import OnnxTeacher
from .recorded_teacher import RecordedTeacher
from .student_frame import StudentFrame
from .teacher import Teacher
from .teacher_check import TeacherCheck

__all__ = [
    'CallableTeacher',
    'ForeignTeacher',
    'FrozenTeacher',
    'HFTeacher',
    'LabeledCategories',
    'LiveTeacher',
    'OnnxTeacher',
    'RecordedTeacher',
    'StudentFrame',
    'Teacher',
    'TeacherCheck',
    'build_teacher',
    'load_model_config',
]
