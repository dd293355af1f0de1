# RTMPose's head on the quickstart's teacher.
_base_ = ['rtmcc_hrnet-w16-tiny_10e_synthetic-crowd-96x64.py']

# runtime
max_epochs = 14
train_cfg = dict(max_epochs=max_epochs)

param_scheduler = [
    dict(type='LinearLR', begin=0, end=50, start_factor=0.001, by_epoch=False),  # warm-up
    dict(type='CosineAnnealingLR', T_max=max_epochs, eta_min=1e-5, by_epoch=True, convert_to_iter_based=True),
]

model = dict(
    backbone=dict(
        extra=dict(
            stage2=dict(num_channels=(32, 64)),
            stage3=dict(num_channels=(32, 64, 128)),
            stage4=dict(num_channels=(32, 64, 128, 256)))),
    head=dict(in_channels=32))
