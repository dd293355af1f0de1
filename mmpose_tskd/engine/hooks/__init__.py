from .box_source_hook import BoxSourceHook
from .channels_last_hook import ChannelsLastHook
from .distill_weight_decay_hook import DistillWeightDecayHook
from .safe_checkpoint_hook import SafeCheckpointHook

__all__ = ['BoxSourceHook', 'ChannelsLastHook', 'DistillWeightDecayHook', 'SafeCheckpointHook']
