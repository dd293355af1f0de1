# MMPose's runtime, with this package and its hooks.
_base_ = ['mmpose::_base_/default_runtime.py']

custom_imports = dict(imports=['mmpose_tskd'])

# hooks
custom_hooks = [
    dict(type='SyncBuffersHook'),
    dict(type='ReliableRunHook'),
    dict(type='SafeSamplesHook'),
    dict(type='BoxSourceHook'),
    dict(type='ChannelsLastHook'),
]
