# Scheme 4 of Table IV in its other reading: the features and the lengths of the limbs, without the pose (Eq. 1 and 3).
_base_ = ['tskd-stage1_simcc_hrnet-w48-to-w32_4xb32-210e_crowdpose-256x192.py']

model = dict(distill_losses=dict(loss_pose=None))
