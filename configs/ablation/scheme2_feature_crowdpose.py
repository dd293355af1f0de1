# Scheme 2 of Table IV: the features alone (Eq. 1).
_base_ = ['../crowdpose/stage1_structure_crowdpose.py']

model = dict(distill_losses=dict(loss_pose=None, loss_structure=None))
