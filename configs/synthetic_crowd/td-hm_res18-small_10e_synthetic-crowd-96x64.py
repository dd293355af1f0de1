# IKD's student on the synthetic crowd: ResNet-18 with three deconvolutions of 64 channels.
_base_ = ['td-hm_res50_8e_synthetic-crowd-96x64.py']

# runtime
max_epochs = 10
train_cfg = dict(max_epochs=max_epochs)

param_scheduler = [
    dict(type='LinearLR', begin=0, end=50, start_factor=0.001, by_epoch=False),  # warm-up
    dict(type='CosineAnnealingLR', T_max=max_epochs, eta_min=1e-5, by_epoch=True, convert_to_iter_based=True),
]

model = dict(
    backbone=dict(depth=18), head=dict(in_channels=512, deconv_out_channels=(64, 64, 64), deconv_kernel_sizes=(4, 4, 4)))
