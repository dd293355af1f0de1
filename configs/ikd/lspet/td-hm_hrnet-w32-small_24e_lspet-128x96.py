# IKD's teacher on LSPET: the HRNet of the SimCC teacher. Heatmaps are compared pixel by pixel, so they have the student's 24×32.
_base_ = ['td-hm_res18-small_8e_lspet-128x96.py']

# runtime
max_epochs = 24
train_cfg = dict(max_epochs=max_epochs, val_interval=4)

optim_wrapper = dict(optimizer=dict(weight_decay=0.05))

param_scheduler = [
    dict(type='LinearLR', begin=0, end=200, start_factor=0.001, by_epoch=False),  # warm-up
    dict(type='CosineAnnealingLR', T_max=max_epochs, eta_min=1e-5, by_epoch=True, convert_to_iter_based=True),
]

# model
model = dict(
    backbone=dict(
        _delete_=True,
        type='HRNet',
        in_channels=3,
        extra=dict(
            stage1=dict(num_modules=1, num_branches=1, block='BOTTLENECK', num_blocks=(2, ), num_channels=(32, )),
            stage2=dict(num_modules=1, num_branches=2, block='BASIC', num_blocks=(2, 2), num_channels=(32, 64)),
            stage3=dict(num_modules=2, num_branches=3, block='BASIC', num_blocks=(2, 2, 2), num_channels=(32, 64, 128)),
            stage4=dict(
                num_modules=1,
                num_branches=4,
                block='BASIC',
                num_blocks=(2, 2, 2, 2),
                num_channels=(32, 64, 128, 256)))),
    head=dict(in_channels=32, deconv_out_channels=None, deconv_kernel_sizes=None))
