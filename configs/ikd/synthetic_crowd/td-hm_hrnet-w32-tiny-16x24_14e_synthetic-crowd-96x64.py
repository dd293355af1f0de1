# IKD's teacher on the synthetic crowd. Heatmaps are compared pixel by pixel, so they have the student's 16×24.
_base_ = ['../../recipes/synthetic_crowd/td-hm_hrnet-w32-tiny_14e_synthetic-crowd-96x64.py']

# codec
codec = dict(type='UDPHeatmap', input_size=(64, 96), heatmap_size=(16, 24), sigma=1.5, blur_kernel_size=3)

# pipelines
train_pipeline = [*_base_.train_pipeline[:-2], dict(type='GenerateTarget', encoder=codec), dict(type='PackPoseInputs')]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

model = dict(head=dict(deconv_out_channels=None, deconv_kernel_sizes=None, decoder=codec))
