from .accumulated_gradients_hook import AccumulatedGradientsHook
from .box_source_hook import BoxSourceHook
from .channels_last_hook import ChannelsLastHook
from .distill_state_hook import DistillStateHook
from .distill_weight_decay_hook import DistillWeightDecayHook
from .divergence_hook import DivergenceHook
from .recorded_teacher_hook import RecordedTeacherHook
from .reliable_run_hook import ReliableRunHook
from .resume_hook import ResumeHook
from .safe_samples_hook import SafeSamplesHook
from .stop_hook import StopHook
from .teacher_evaluation_hook import TeacherEvaluationHook
from .whole_checkpoint_hook import WholeCheckpointHook

__all__ = [
    'AccumulatedGradientsHook',
    'BoxSourceHook',
    'ChannelsLastHook',
    'DistillStateHook',
    'DistillWeightDecayHook',
    'DivergenceHook',
    'RecordedTeacherHook',
    'ReliableRunHook',
    'ResumeHook',
    'SafeSamplesHook',
    'StopHook',
    'TeacherEvaluationHook',
    'WholeCheckpointHook',
]
