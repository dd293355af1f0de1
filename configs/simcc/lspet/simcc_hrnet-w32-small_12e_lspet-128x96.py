# The teacher of the LSPET experiments (6.1 M parameters), trained longer than its students.
_base_ = ['simcc_hrnet-w16-small_8e_lspet-128x96.py']

# runtime
max_epochs = 12
train_cfg = dict(max_epochs=max_epochs)

optim_wrapper = dict(optimizer=dict(lr=3e-3))

param_scheduler = [
    dict(type='LinearLR', begin=0, end=200, start_factor=0.001, by_epoch=False),  # warm-up
    dict(type='CosineAnnealingLR', T_max=max_epochs, eta_min=3e-5, by_epoch=True, convert_to_iter_based=True),
]

# model
model = dict(
    backbone=dict(
        extra=dict(
            stage2=dict(num_channels=(32, 64)),
            stage3=dict(num_modules=2, num_channels=(32, 64, 128)),
            stage4=dict(num_channels=(32, 64, 128, 256)))),
    head=dict(in_channels=32))
