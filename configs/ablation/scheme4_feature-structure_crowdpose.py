# Scheme 4 of Table IV in its other reading: the features and the lengths of the limbs, without the pose (Eq. 1 and 3).
_base_ = ['../crowdpose/stage1_structure_crowdpose.py']

model = dict(distill_losses=dict(loss_pose=None))
