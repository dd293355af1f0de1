# Scheme 3 of Table IV: the features and the pose (Eq. 1 and 2).
_base_ = ['../crowdpose/stage1_structure_crowdpose.py']

model = dict(distill_losses=dict(loss_structure=None))
