# SimCC with HRNet-W48 on COCO in the official code's Gaussian form ("sa-simdr"). That code averages this form's loss over bins and keypoints
# instead of adding it up, of which Adam notices only that x then counts 4/3 of y; here both forms have the same loss.
_base_ = ['simcc_hrnet-w48_4xb32-210e_coco-256x192.py']

# codec settings: σ in bins; targets that sum to 1
codec = dict(
    type='SimCCLabel',
    input_size=(192, 256),
    smoothing_type='gaussian',
    label_smooth_weight=0.0,
    sigma=4.0,
    simcc_split_ratio=2.0,
    normalize=True,
    use_dark=False)

model = dict(head=dict(decoder=codec))

# pipelines
train_pipeline = [*_base_.train_pipeline[:-2], dict(type='GenerateTarget', encoder=codec), _base_.train_pipeline[-1]]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

# evaluators: the probability of 0.01, of a Gaussian's 0.1 at best
val_evaluator = dict(keypoint_score_thr=0.1)
test_evaluator = val_evaluator
