from .build import build_teacher
from .callable_teacher import CallableTeacher
from .foreign_teacher import ForeignTeacher
from .frozen_teacher import FrozenTeacher, load_model_config, num_keypoints
from .hf_teacher import HFTeacher
from .live_teacher import LiveTeacher
from .onnx_teacher import OnnxTeacher
from .recorded_teacher import RecordedTeacher
from .student_frame import StudentFrame
from .teacher import Teacher

__all__ = [
    'CallableTeacher',
    'ForeignTeacher',
    'FrozenTeacher',
    'HFTeacher',
    'LiveTeacher',
    'OnnxTeacher',
    'RecordedTeacher',
    'StudentFrame',
    'Teacher',
    'build_teacher',
    'load_model_config',
    'num_keypoints',
]
