# Scheme 1 of Table IV: the baseline, and an IGP-GCN that the labels teach.
_base_ = ['../crowdpose/stage2_igpgcn_crowdpose.py']

# the labels in input pixels, for the head's own loss
train_pipeline = [*_base_.train_pipeline[:-1], dict(type='PackPoseInputs', pack_transformed=True)]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

model = dict(
    teacher=None,
    teacher_checkpoint=None,
    student_checkpoint='work_dirs/simcc_hrnet-w32_4xb32-210e_crowdpose-256x192',
    task_loss=True,
    distill_losses=None)
