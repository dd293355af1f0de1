# The quickstart's teacher (3 M parameters), trained longer than its students.
_base_ = ['simcc_hrnet-w16-tiny_10e_synthetic-crowd-96x64.py']

# runtime
max_epochs = 14
train_cfg = dict(max_epochs=max_epochs, val_interval=5)

optim_wrapper = dict(optimizer=dict(lr=3e-3))

param_scheduler = [
    dict(type='LinearLR', begin=0, end=50, start_factor=0.001, by_epoch=False),  # warm-up
    dict(type='CosineAnnealingLR', T_max=max_epochs, eta_min=3e-5, by_epoch=True, convert_to_iter_based=True),
]

# model
model = dict(
    backbone=dict(
        extra=dict(
            stage2=dict(num_channels=(32, 64)),
            stage3=dict(num_channels=(32, 64, 128)),
            stage4=dict(num_channels=(32, 64, 128, 256)))),
    head=dict(in_channels=32))
