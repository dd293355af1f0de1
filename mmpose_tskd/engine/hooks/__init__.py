from .channels_last_hook import ChannelsLastHook
from .safe_checkpoint_hook import SafeCheckpointHook

__all__ = ['ChannelsLastHook', 'SafeCheckpointHook']
