# IKD's student on COCO: ResNet-18 with three deconvolutions of 64 channels, 35 % of the parameters and multiplications of
# SimpleBaseline with ResNet-50. Runtime, data and schedule are those of MMPose's config for that.
_base_ = ['mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_res50_8xb64-210e_coco-256x192.py']

custom_imports = dict(imports=['mmpose_tskd'])

model = dict(
    backbone=dict(depth=18, init_cfg=dict(checkpoint='torchvision://resnet18')),
    head=dict(in_channels=512, deconv_out_channels=(64, 64, 64)))

# hooks
custom_hooks = [*_base_.custom_hooks, dict(type='ReliableRunHook'), dict(type='SafeSamplesHook'), dict(type='BoxSourceHook')]
