# The quickstart's teacher trained until its AP no longer rises.
_base_ = ['simcc_hrnet-w32-tiny_14e_synthetic-crowd-96x64.py']

# runtime
max_epochs = 45
train_cfg = dict(max_epochs=max_epochs)

param_scheduler = [
    dict(type='LinearLR', begin=0, end=50, start_factor=0.001, by_epoch=False),  # warm-up
    dict(type='CosineAnnealingLR', T_max=max_epochs, eta_min=3e-5, by_epoch=True, convert_to_iter_based=True),
]
