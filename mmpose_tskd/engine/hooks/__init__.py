from .box_source_hook import BoxSourceHook
from .channels_last_hook import ChannelsLastHook
from .distill_weight_decay_hook import DistillWeightDecayHook
from .recorded_teacher_hook import RecordedTeacherHook
from .safe_checkpoint_hook import SafeCheckpointHook
from .safe_samples_hook import SafeSamplesHook
from .teacher_evaluation_hook import TeacherEvaluationHook

__all__ = [
    'BoxSourceHook',
    'ChannelsLastHook',
    'DistillWeightDecayHook',
    'RecordedTeacherHook',
    'SafeCheckpointHook',
    'SafeSamplesHook',
    'TeacherEvaluationHook',
]
