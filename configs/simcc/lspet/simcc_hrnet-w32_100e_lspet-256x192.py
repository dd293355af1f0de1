# The teacher at 256×192, for a GPU: HRNet-W32, from random weights as its students.
_base_ = ['simcc_hrnet-w16-small_60e_lspet-256x192.py']

# runtime
max_epochs = 100
train_cfg = dict(max_epochs=max_epochs)

optim_wrapper = dict(optimizer=dict(lr=1e-3))

param_scheduler = [
    dict(type='LinearLR', begin=0, end=500, start_factor=0.001, by_epoch=False),  # warm-up
    dict(type='CosineAnnealingLR', T_max=max_epochs, eta_min=1e-5, by_epoch=True, convert_to_iter_based=True),
]

# model
model = dict(
    backbone=dict(
        extra=dict(
            stage1=dict(num_blocks=(4, ), num_channels=(64, )),
            stage2=dict(num_blocks=(4, 4), num_channels=(32, 64)),
            stage3=dict(num_modules=4, num_blocks=(4, 4, 4), num_channels=(32, 64, 128)),
            stage4=dict(num_modules=3, num_blocks=(4, 4, 4, 4), num_channels=(32, 64, 128, 256)))),
    head=dict(in_channels=32))
