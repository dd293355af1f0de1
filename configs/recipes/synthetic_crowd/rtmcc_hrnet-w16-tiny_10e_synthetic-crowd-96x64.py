# RTMPose's head on the quickstart's student.
_base_ = ['../../simcc/synthetic_crowd/simcc_hrnet-w16-tiny_10e_synthetic-crowd-96x64.py']

optim_wrapper = dict(optimizer=dict(lr=1e-3))  # at 3e-3 its attention does not learn

param_scheduler = [
    dict(type='LinearLR', begin=0, end=50, start_factor=0.001, by_epoch=False),  # warm-up
    dict(
        type='CosineAnnealingLR', T_max=_base_.max_epochs, eta_min=1e-5, by_epoch=True, convert_to_iter_based=True),
]

# codec: RTMPose's σ, the root of an eighth of the input size
codec = dict(
    type='SimCCLabel', input_size=(64, 96), sigma=(2.83, 3.46), simcc_split_ratio=2.0, normalize=False, use_dark=False)

# pipelines
train_pipeline = [*_base_.train_pipeline[:-2], dict(type='GenerateTarget', encoder=codec), dict(type='PackPoseInputs')]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

model = dict(
    head=dict(
        _delete_=True,
        type='RTMCCHead',
        in_channels=16,
        out_channels=17,
        input_size=codec['input_size'],
        in_featuremap_size=(16, 24),
        simcc_split_ratio=codec['simcc_split_ratio'],
        final_layer_kernel_size=7,
        gau_cfg=dict(
            hidden_dims=256,
            s=128,
            expansion_factor=2,
            dropout_rate=0.0,
            drop_path=0.0,
            act_fn='SiLU',
            use_rel_bias=False,
            pos_enc=False),
        loss=dict(type='KLDiscretLoss', use_target_weight=True, beta=10.0, label_softmax=True),
        decoder=codec))
